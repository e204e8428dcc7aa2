-- Routes that cover messages of the Model Context Protocol claim messages instead of the method POST.
ALTER TABLE route_claims DROP CONSTRAINT route_claims_method_shape;
ALTER TABLE route_claims ADD CONSTRAINT route_claims_method_shape CHECK (
    method ~ '^[^a-z\s,]{1,64}$' AND method <> 'HEAD'
    OR method ~ '^POST mcp:[!-~]{1,64}( [!-~]+)?$' AND octet_length(method) <= 640
);
