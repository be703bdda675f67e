"""Rate and distortion: the bits that have been sent on the way from noise to data, and the image that they give."""
