"""The lab: work with trained models. No other package imports it; a table of names gives its commands to the rest."""
