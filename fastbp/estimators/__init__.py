"""What is behind fastbp.estimator: the two estimators without their public interface."""
