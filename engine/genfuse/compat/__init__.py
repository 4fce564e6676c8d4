"""Other libraries' interfaces on genfuse's kernels; import the one that is wanted."""
