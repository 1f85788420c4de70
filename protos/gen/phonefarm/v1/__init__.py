"""Generated from protos/phonefarm; do not edit."""
