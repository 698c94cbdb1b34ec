"""What answers are worth: pure functions from texts and boxes to numbers, importing nothing heavy."""
