"""The main job as steps: what `make demo` prints and what the end-to-end tests assert are the same code.

`demo` is the order of the steps, `timeline` prints them with their time. They stand on `kubectl` (the one way to the
cluster), `bed` (what `dev/cluster` says of it), `install` (operator and namespace), `documents` (the user's YAMLs),
`cql` and `dataset` (rows in, rows compared), `nodes` (a datacenter's pods and claims), `places` (the four stores, each
with a `store_*`: the bucket as its owner sees it), `minio_admin` (its users' rights), `relay` (a store that falls
silent) and `small_volume` (one that is full), each a `helper_pod`, `waiting` (for conditions), `state` (what to print
on failure). `local` is `make run`.
Everything blocks: a scenario is one person at a keyboard, who does two things at once only with `together`.
"""
