"""Where work is done: in child processes of this machine, or on a Ray cluster; and which share of it is this job's."""
