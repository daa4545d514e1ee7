"""Tests of geventcql.policies."""
