"""Tests of the build driver. A package, so that its file names may recur in other test folders."""
