package io.extauthz.client;

/** Who is bound to a role. */
public enum BoundSubject {
    /** A user. */
    USER,
    /** A service, by its client id. */
    SERVICE,
    /** A workload, by its SPIFFE id. */
    WORKLOAD,
    /** Everyone who has another role. */
    ROLE;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code user}
     */
    public String word() {
        return Words.of(this);
    }
}
