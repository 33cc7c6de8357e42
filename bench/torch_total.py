#!/usr/bin/python3
"""Runs a PyTorch training script as a peer of pair_step and adds what its own
line leaves out: the total of all steps but the first, and peak memory.

  torch_total.py SCRIPT [its arguments ...]

SCRIPT must leave the seconds of each step in a global list `secs`. Prints one
JSON line.
"""
import json
import resource
import runpy
import sys

script = sys.argv[1]
sys.argv = sys.argv[1:]
secs = runpy.run_path(script, run_name='__main__')['secs']
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({'step_s': secs, 'total_s': sum(secs[1:]),
                  'peak_rss_gb': peak}))
