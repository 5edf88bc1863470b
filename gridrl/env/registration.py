"""The scenarios that come along as Gymnasium ids: ``gymnasium.make("gridrl/ieee14-v0")``.

Gymnasium finds `register_envs` through the entry point of the distribution, so that nothing of
ours need be imported first.
"""

from importlib.resources import files

PREFIX, VERSION = "gridrl/", "-v0"


def register_envs() -> None:
    """Tell Gymnasium every scenario that comes along, for `make` and `make_vec`."""
    from gymnasium.envs.registration import register, registry

    for name in sorted(path.name for path in files("scenarios.data").iterdir()):
        ident = f"{PREFIX}{name.removesuffix('.toml')}{VERSION}"
        if name.endswith(".toml") and ident not in registry:
            register(
                id=ident,
                entry_point="gridrl.env:make",
                vector_entry_point="gridrl.env:make_vector",
                kwargs={"scenario": name.removesuffix(".toml")},
            )
