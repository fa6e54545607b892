"""The loop that every algorithm runs in: rollouts, curves, stop rules, checkpoints.

``task`` is what an algorithm is given, ``steering`` the loop over its steps, ``rollouts`` samples
answers and measures them, ``curve`` makes the points of an arm's curve, ``on_policy`` is the
clipped policy gradient that PPO and RLOO share, and ``checkpoints`` runs it all and stores the last
policy and the last one at equal KL. All of it imports torch.
"""
