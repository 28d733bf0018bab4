"""The HTML report: one file that loads nothing, for a browser.

The modules here prepare what the templates show; the templates contain no logic beyond loops and conditions.
"""
