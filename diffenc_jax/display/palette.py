"""Okabe and Ito's colours, which remain distinct under colour blindness, for figures that compare."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
