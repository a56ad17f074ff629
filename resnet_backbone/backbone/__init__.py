"""Residual networks that return one feature map per stage; they need only torch."""
