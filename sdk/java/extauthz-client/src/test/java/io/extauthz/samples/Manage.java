package io.extauthz.samples;

import io.extauthz.client.ApiException;
import io.extauthz.client.AttributePolicy;
import io.extauthz.client.CheckRequest;
import io.extauthz.client.CheckResult;
import io.extauthz.client.Effect;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ResourceSpec;
import io.extauthz.client.RoleRule;
import java.util.List;
import java.util.Map;

public final class Manage {

    public static void main(String[] arguments) {
        try (var extauthz = ExtauthzClient.fromEnvironment(System.getenv()).build()) {
            extauthz.register(List.of(ResourceSpec.builder("java-statement:read", "java-statements")
                    .defaultRoles("auditor")
                    .route("GET", "/java/statements/{statement}")
                    .build()));
            try {
                extauthz.createRoleRule(new RoleRule("manager", "*", "java-statement:read", "read", Effect.ALLOW));
            } catch (ApiException error) {
                if (error.status() != 409) { // it is there already
                    throw error;
                }
            }
            Map<String, Object> draft = Map.of(
                    "type", "CONDITION",
                    "attribute", "resource.statement",
                    "operator", "startsWith",
                    "value", "draft-");
            extauthz.createAttributePolicy(
                    AttributePolicy.builder("Drafts stay inside", "java-statement:read", Effect.DENY, draft)
                            .build());
            CheckResult decision = extauthz.check(CheckRequest.builder("java-statement:read", "read")
                    .minRevision(extauthz.policyRevision().orElseThrow())
                    .build());
            System.out.println((decision.allowed() ? "allowed " : "denied ") + decision.reason());
        }
    }
}
