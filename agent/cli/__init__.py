"""``python -m agent backup | restore | list | show | …``: the agent's work from a command line, without Kubernetes.

    main ──> a command's module ──> run.py: handlers of agent/operations.py, with a journal ──> the bucket
                                     └─ progress.py, while they work

What a command found goes to standard output, everything else to standard error. A command that was stopped, by Ctrl-C
or a crash, goes on where it was when it is given again: ``run.py`` keeps in the state directory what it had begun.

Exit codes are in ``console.Exit``.
"""
