package io.extauthz.client;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * An attribute policy: a condition on a resource.
 *
 * @param id what the API gave it; null before it is created
 * @param name the name
 * @param resource the name of the resource
 * @param actions the actions; {@code *} is every action
 * @param domain the domain; null is the API's default, {@code *}, or the only domain of a domain admin
 * @param effect what it leads to
 * @param priority its place among others, the higher first
 * @param enabled whether it is looked at
 * @param mode whether it decides
 * @param notation the form of {@code ruleData}
 * @param ruleData a condition tree as a {@link Map}, or with the notation {@code CASBIN} a {@link String};
 *     its numbers keep their digits, {@link java.math.BigDecimal} where they have a fraction
 * @param warnings what the API thinks of a policy that was just written; never sent, and not compared by
 *     {@link #equals}
 */
public record AttributePolicy(
        String id,
        String name,
        String resource,
        List<String> actions,
        String domain,
        Effect effect,
        long priority,
        boolean enabled,
        Mode mode,
        Notation notation,
        Object ruleData,
        List<Problem> warnings) {

    /** Copies the lists and the condition's outermost map. */
    public AttributePolicy {
        Objects.requireNonNull(name, "name");
        Objects.requireNonNull(resource, "resource");
        Objects.requireNonNull(effect, "effect");
        Objects.requireNonNull(mode, "mode");
        Objects.requireNonNull(notation, "notation");
        actions = List.copyOf(actions);
        warnings = List.copyOf(warnings);
        if (ruleData instanceof Map<?, ?> tree) {
            ruleData = Documents.copy(Members.object(tree));
        } else if (!(ruleData instanceof String)) {
            throw new IllegalArgumentException("the condition of a policy is a map or a string");
        }
    }

    /**
     * Starts a policy on a condition tree, for every action, enabled and deciding.
     *
     * @param name the name
     * @param resource the name of the resource
     * @param effect what it leads to
     * @param condition the condition tree
     * @return a builder
     */
    public static Builder builder(String name, String resource, Effect effect, Map<String, ?> condition) {
        return new Builder(name, resource, effect, Notation.JSON, condition);
    }

    /**
     * Starts a policy on a matcher expression, for every action, enabled and deciding.
     *
     * @param name the name
     * @param resource the name of the resource
     * @param effect what it leads to
     * @param expression the matcher expression
     * @return a builder
     */
    public static Builder builder(String name, String resource, Effect effect, String expression) {
        return new Builder(name, resource, effect, Notation.CASBIN, expression);
    }

    /**
     * Starts a policy with the members of this one, its id too.
     *
     * @return a builder
     */
    public Builder toBuilder() {
        var builder = new Builder(name, resource, effect, notation, ruleData);
        return builder.id(id)
                .actions(actions)
                .domain(domain)
                .priority(priority)
                .enabled(enabled)
                .mode(mode);
    }

    /**
     * Compares everything but the warnings.
     *
     * @param other another object; may be null
     * @return whether it is the same policy
     */
    @Override
    public boolean equals(Object other) {
        return other instanceof AttributePolicy policy && compared().equals(policy.compared());
    }

    /**
     * Returns a hash of everything but the warnings.
     *
     * @return the hash
     */
    @Override
    public int hashCode() {
        return compared().hashCode();
    }

    private List<Object> compared() {
        return java.util.Arrays.asList(
                id, name, resource, actions, domain, effect, priority, enabled, mode, notation, ruleData);
    }

    Map<String, Object> document() {
        var members = new LinkedHashMap<String, Object>();
        members.put("name", name);
        members.put("resource", resource);
        members.put("actions", actions);
        Documents.put(members, "domain", domain);
        members.put("effect", Words.of(effect));
        members.put("priority", priority);
        members.put("enabled", enabled);
        members.put("mode", Words.of(mode));
        members.put("format", Words.of(notation));
        members.put("rule_data", ruleData);
        return members;
    }

    static AttributePolicy read(Object document) {
        var members = new Members(document);
        Object ruleData = members.value("rule_data");
        return new AttributePolicy(
                members.text("id"),
                members.text("name"),
                members.text("resource"),
                members.texts("actions"),
                members.text("domain"),
                members.choice("effect", Effect.class),
                members.number("priority"),
                members.flag("enabled"),
                members.choice("mode", Mode.class),
                members.choice("format", Notation.class),
                ruleData instanceof Map ? ruleData : members.text("rule_data"),
                Documents.all(members.objects("warnings"), Problem::read));
    }

    /** Collects the members of a policy. Not for several threads at once. */
    public static final class Builder {

        private final String name;
        private final String resource;
        private final Effect effect;
        private final Notation notation;
        private final Object ruleData;
        private String id;
        private List<String> actions = List.of("*");
        private String domain;
        private long priority;
        private boolean enabled = true;
        private Mode mode = Mode.ENFORCE;

        private Builder(String name, String resource, Effect effect, Notation notation, Object ruleData) {
            this.name = Objects.requireNonNull(name, "name");
            this.resource = Objects.requireNonNull(resource, "resource");
            this.effect = Objects.requireNonNull(effect, "effect");
            this.notation = notation;
            this.ruleData = Objects.requireNonNull(ruleData, "ruleData");
        }

        /**
         * Names the policy to replace.
         *
         * @param id what the API gave it; null for a policy that is to be created
         * @return this builder
         */
        public Builder id(String id) {
            this.id = id;
            return this;
        }

        /**
         * Sets the actions.
         *
         * @param actions the actions; {@code *} is every action
         * @return this builder
         */
        public Builder actions(Collection<String> actions) {
            this.actions = List.copyOf(actions);
            return this;
        }

        /**
         * Sets the actions.
         *
         * @param actions the actions; {@code *} is every action
         * @return this builder
         */
        public Builder actions(String... actions) {
            return actions(List.of(actions));
        }

        /**
         * Sets the domain.
         *
         * @param domain the domain; null is the API's default
         * @return this builder
         */
        public Builder domain(String domain) {
            this.domain = domain;
            return this;
        }

        /**
         * Sets the place among other policies.
         *
         * @param priority the place, the higher first
         * @return this builder
         */
        public Builder priority(long priority) {
            this.priority = priority;
            return this;
        }

        /**
         * Says whether the policy is looked at.
         *
         * @param enabled whether
         * @return this builder
         */
        public Builder enabled(boolean enabled) {
            this.enabled = enabled;
            return this;
        }

        /**
         * Says whether the policy decides.
         *
         * @param mode whether
         * @return this builder
         */
        public Builder mode(Mode mode) {
            this.mode = Objects.requireNonNull(mode, "mode");
            return this;
        }

        /**
         * Makes the policy.
         *
         * @return the policy
         */
        public AttributePolicy build() {
            return new AttributePolicy(
                    id, name, resource, actions, domain, effect, priority, enabled, mode, notation, ruleData,
                    List.of());
        }
    }
}
