-- Resources that were declared public. NULL is what is not; there is no `false`, so that each state has one form.
ALTER TABLE resources ADD COLUMN public boolean CONSTRAINT resources_public_or_null CHECK (public);
