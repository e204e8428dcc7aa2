package io.extauthz.spring;

/** What happens with a call that did not come through the mesh. */
public enum DirectCalls {
    /** It is served: the network sees to it that only the mesh reaches the application. */
    ALLOW,
    /** {@code POST /api/v1/check} decides about it. */
    CHECK,
    /** It is answered 401. */
    REJECT
}
