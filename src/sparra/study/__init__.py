"""One study is one YAML: settings, stages, caching, resume."""
