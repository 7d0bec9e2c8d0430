"""One study is one YAML: stages, caching, resume."""
