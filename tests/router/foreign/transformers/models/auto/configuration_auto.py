from transformers.dynamic_module_utils import resolve_trust_remote_code  # noqa: F401 - asked here
