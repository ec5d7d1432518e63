"""Looking at a data set, or at what a run says of it, in the FiftyOne App."""
