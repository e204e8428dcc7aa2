"""Conditions of attribute policies: trees and expressions are read, checked and compiled."""
