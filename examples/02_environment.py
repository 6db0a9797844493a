"""The campaign as an environment: play it by hand, train another library's PPO on it, fly what came out.

Run it from anywhere; it takes about half a minute. A hundred steps teach nothing: the point is the path.
"""

import tempfile
from pathlib import Path

import gymnasium
import numpy as np
from stable_baselines3 import PPO

import gaelp  # noqa: F401  (registers the environment)
from gaelp.observation.campaign import CAMPAIGN_FEATURES

MARKET = Path(__file__).parents[1] / "markets" / "family_safety.toml"
WORLDS = 8
DAYS = 7


def played(at_random: bool) -> tuple[float, float]:
    """USD spent and incremental value gained in a week, means over the worlds of a vector environment."""
    worlds = gymnasium.make_vec(
        "gaelp/Campaign-v0",
        num_envs=WORLDS,
        vectorization_mode="vector_entry_point",
        market=MARKET,
        users=2_000,
        days=DAYS,
    )
    worlds.action_space.seed(0)
    worlds.reset(seed=0)
    spent, gained = np.zeros(WORLDS), np.zeros(WORLDS)
    for _ in range(24 * DAYS):
        action = worlds.action_space.sample()
        _, _, _, _, info = worlds.step(action if at_random else np.zeros_like(action))
        spent += info["spend_usd"]
        gained += info["value_usd"]
    return float(spent.mean()), float(gained.mean())


def main() -> None:
    """Tell the story."""
    for name, at_random in (("dual pacing, all actions 0", False), ("random actions", True)):
        spent, gained = played(at_random)
        print(f"{name}: ${spent:.2f} spent, ${gained:.2f} of lifetime value that would not have come")

    env = gymnasium.make("gaelp/Campaign-v0", market=MARKET, users=1_000, days=DAYS)
    observation, _ = env.reset(seed=1)
    told = dict(zip(CAMPAIGN_FEATURES.names, observation, strict=True))
    print(f"\n{len(told)} features an hour, the first of them:")
    for name in list(told)[:8]:
        print(f"  {name:16} {told[name]:+.3f}")

    model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, device="cpu", seed=0).learn(128)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.zip"
        model.save(path)
        print(f"\nTrained for 128 hours. Judge such a file beside others: gaelp evaluate {path.name} pacing")


if __name__ == "__main__":
    main()
