"""Tests of geventcql.metadata."""
