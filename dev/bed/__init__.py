"""The local test bed: one real Kubernetes node, its object store and its images, without a container registry.

`cli` reads the command line and picks a backend, `cluster` (a cluster of our own) or `kind`.
`cluster` calls, in the order in which a cluster comes up: `packages` and `tools` (programs, built once and cached),
`holder` (the namespaces that everything runs in, and the one process whose end ends all), `netns`, `certs`,
`controlplane`, `stores`, `node`, `dns`, `volumes`, and meanwhile `images` (`contexts`, `fetch`, `buildah`).
`process` starts and finds processes, `settings` and `paths` say where things lie, `say` tells the user where we are.
"""
