package io.extauthz.declare;

import java.security.Principal;
import java.util.List;
import java.util.Objects;

/**
 * The caller of a request that extauthz allowed.
 *
 * @param subject the id; null for an anonymous caller
 * @param kind {@code user}, {@code service}, {@code workload} or {@code anonymous}
 * @param roles the roles; null where they are too many for a header
 * @param tenant the tenant that owns the target
 * @param domain the domain; null where there is none
 * @param verified whether a signature says so, not only the headers of a trusted network
 */
public record Caller(
        String subject, String kind, List<String> roles, String tenant, String domain, boolean verified)
        implements Principal {

    private static final String ANONYMOUS = "anonymous";

    /** Checks that a caller without an id is anonymous, and copies the roles. */
    public Caller {
        Objects.requireNonNull(kind, "kind");
        if (subject == null && !kind.equals(ANONYMOUS)) {
            throw new IllegalArgumentException("a caller without a subject is anonymous, not " + kind);
        }
        roles = roles == null ? null : List.copyOf(roles);
    }

    /**
     * Returns the id as the name of the principal.
     *
     * @return the subject, {@code anonymous} where there is none
     */
    @Override
    public String getName() {
        return subject == null ? ANONYMOUS : subject;
    }

    /**
     * Tells whether the caller is known to have a role.
     *
     * @param role the name of the role
     * @return whether it is one of the roles; false where the roles are not known
     */
    public boolean hasRole(String role) {
        return roles != null && roles.contains(role);
    }

    /**
     * Tells whether the request came without a credential.
     *
     * @return whether the caller is anonymous
     */
    public boolean isAnonymous() {
        return kind.equals(ANONYMOUS);
    }
}
