package io.extauthz.client;

import java.time.Instant;
import java.util.List;

/**
 * What an assertion says.
 *
 * @param subject who called; null for an anonymous caller
 * @param kind of which kind the caller is: {@code user}, {@code service}, {@code workload} or
 *     {@code anonymous}
 * @param roles the caller's roles; null where there are too many for a header
 * @param tenant the tenant
 * @param domain the domain; null where the request has none
 * @param issuedAt when it was signed
 * @param expiresAt when it ends
 */
public record VerifiedAssertion(
        String subject,
        String kind,
        List<String> roles,
        String tenant,
        String domain,
        Instant issuedAt,
        Instant expiresAt) {

    /** Copies the roles. */
    public VerifiedAssertion {
        roles = roles == null ? null : List.copyOf(roles);
    }
}
