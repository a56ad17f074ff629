"""Residual networks that return a feature map per stage; needs torch alone."""
