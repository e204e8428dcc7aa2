package io.extauthz.declare;

import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Declares the resource that an endpoint leads to. On a class it holds for each of its endpoints; what a
 * method declares goes before what its class declares.
 *
 * <pre>{@code
 * @GetMapping("/invoices/{number}")
 * @Resource(name = "invoice:read", defaultRoles = "finance")
 * Invoice read(@PathVariable String number) { ... }
 * }</pre>
 */
@Documented
@Retention(RetentionPolicy.RUNTIME)
@Target({ElementType.TYPE, ElementType.METHOD})
public @interface Resource {

    /**
     * The name of the resource, such as {@code invoice:read}.
     *
     * @return the name
     */
    String name();

    /**
     * The action of the endpoint. Empty: the text after the last {@code :} of the name, else {@code access}.
     *
     * @return the action, or an empty text
     */
    String action() default "";

    /**
     * Roles that are allowed the resource's default action, from the first time ever that the resource is
     * registered. None: a rule has to allow it.
     *
     * @return the roles
     */
    String[] defaultRoles() default {};

    /**
     * A name for people.
     *
     * @return the name, or an empty text
     */
    String displayName() default "";

    /**
     * Whether the endpoint needs a credential. Other values than {@code REQUIRED} need a tenant admin.
     *
     * @return the requirement
     */
    Authenticate authentication() default Authenticate.DEFAULT;

    /**
     * Whether every caller is allowed the resource, by each route that leads to it. Making it public needs a
     * tenant admin.
     *
     * @return what is to be
     */
    Toggle isPublic() default Toggle.UNCHANGED;

    /** Whether a route needs a credential. */
    enum Authenticate {
        /** As the API decides: required, and optional where the resource is public. */
        DEFAULT,
        /** A request without a valid credential is denied. */
        REQUIRED,
        /** A request without a credential is judged as the anonymous caller. */
        OPTIONAL,
        /** Credentials are not read. */
        NONE
    }

    /** A member that a declaration sets or leaves as it is. */
    enum Toggle {
        /** It stays as it is stored. */
        UNCHANGED,
        /** It is set. */
        TRUE,
        /** It is taken back. */
        FALSE
    }
}
