"""The two estimators without their public module: parameters, samples, epochs, attributes."""
