-- The latest transfer of a call: the party whose place somebody else has ('caller' or 'callee'), and the user part of who
-- has it. NULL when both parties stayed.
ALTER TABLE cdr ADD COLUMN transferred_by TEXT;
ALTER TABLE cdr ADD COLUMN transferred_to TEXT;
