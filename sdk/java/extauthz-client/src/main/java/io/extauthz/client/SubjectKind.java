package io.extauthz.client;

/** Of which kind the subject of a check is. */
public enum SubjectKind {
    /** A user. */
    USER,
    /** A service, by its client id. */
    SERVICE,
    /** A workload, by its SPIFFE id. */
    WORKLOAD;

    /**
     * Returns the word of the API.
     *
     * @return the word, such as {@code user}
     */
    public String word() {
        return Words.of(this);
    }
}
