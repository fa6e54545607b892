"""The loop that every algorithm runs in: rollouts, curves, stop rules, checkpoints.

``task`` is what an algorithm is given, ``steering`` the loop over its steps, ``rollouts`` samples
answers and measures them, ``curve`` makes the points of an arm's curve, and ``on_policy`` is the
clipped policy gradient that PPO and RLOO share. All of it imports torch.
"""
