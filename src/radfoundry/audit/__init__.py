"""Before a score is believed: leaks, shortcuts and trivial explanations.

from radfoundry.audit import audit, adds_over
"""

from __future__ import annotations

from radfoundry.audit.comparison import Comparison, adds_over
from radfoundry.audit.items import Audit, AuditItem
from radfoundry.audit.run import audit

__all__ = ["Audit", "AuditItem", "Comparison", "adds_over", "audit"]
