"""Arguments, arrays, data sets and files: checked, read, and brought to what the kernels take."""
