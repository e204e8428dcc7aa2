package io.extauthz.client;

/** What the {@code sub} of a role rule names. */
public enum RuleSubject {
    /** A role. */
    ROLE,
    /** A user. */
    USER,
    /** A service, by its client id. */
    SERVICE,
    /** A workload, by its SPIFFE id. */
    WORKLOAD,
    /** Everyone; {@code sub} is {@code *}. */
    ANY;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code role}
     */
    public String word() {
        return Words.of(this);
    }
}
