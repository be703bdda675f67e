"""The lab: what is done with trained models. Nothing outside it imports it; its commands are in a table of names."""
