"""Cipher `kahe`: key-additive homomorphic encryption, by ring-LWE, with an authenticated sum.

Key-additive homomorphic encryption (KAHE) is the literature's name for what the cipher is built on: the sum of
ciphertexts opens under the sum of their keys (Bell-Clark, Gascon, Li, Raykova and Schoppmann, "Willow", Crypto 2025;
before it Stevens et al., 2022, and LERNA, Asiacrypt 2023). Each client has a fresh key for each attempt, of which only
the sum over the clients of a round is ever reconstructed, by Shamir shares among the clients; Willow gives the keys to
a committee under a second encryption instead, which a federation of sites does not need.

Modules, lowest first: `ring` (arithmetic), `sampling` (random values), `parameters`, `sharing` (Shamir),
`session` (an attempt, and shares on their way), `tags` (authentication of the sum), `client_half` and `server_half`.
"""
