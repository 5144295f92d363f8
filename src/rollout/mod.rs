//! Policies, judges.
