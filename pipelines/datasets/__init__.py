"""Builders of samples from annotation sets, one module a data set.

A builder is a function from records to outcomes: drafts of samples without their pictures' bytes, or a
refusal with its reason. Every record has exactly one outcome, so nothing is lost without a trace.
"""
