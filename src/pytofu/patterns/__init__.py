"""What stands in for Zig's compiler at run time: results, cleanup after errors, buffers."""
