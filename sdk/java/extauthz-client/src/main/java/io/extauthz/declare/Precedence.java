package io.extauthz.declare;

/** Which of two endpoints a framework takes for a request that both match. */
@FunctionalInterface
public interface Precedence {

    /** The framework's order is not known: either may be taken. */
    Precedence UNKNOWN = (first, second) -> 0;

    /**
     * Compares two endpoints.
     *
     * @param first an endpoint
     * @param second another endpoint
     * @return a negative number where the second is not taken for any request that both match, a positive
     *     number where the first is not; 0 where that is not known
     */
    int compare(Endpoint first, Endpoint second);

    /**
     * Tells whether one endpoint takes each request with its path and method that another one takes, although
     * it is conditional: both have the same conditions.
     *
     * @param first a conditional endpoint
     * @param second another endpoint
     * @return whether the conditions are the same; false where that is not known
     */
    default boolean sameConditions(Endpoint first, Endpoint second) {
        return false;
    }
}
