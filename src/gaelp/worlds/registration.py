"""Makes `gymnasium.make("gaelp/Campaign-v0")` work after `import gaelp`, whichever is imported first."""


def register() -> None:
    """Register the environment; imports nothing of it yet."""
    from gymnasium.envs.registration import register as register_env

    register_env(
        id="gaelp/Campaign-v0",
        entry_point="gaelp.worlds.env:CampaignEnv",
        vector_entry_point="gaelp.worlds.env:CampaignVectorEnv",
    )
