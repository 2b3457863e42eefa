//! What real agents need: a home, an identity, the environment of real programs; and the agents themselves.

mod home;
mod mcp;
mod programs;
mod real;
mod templates;
