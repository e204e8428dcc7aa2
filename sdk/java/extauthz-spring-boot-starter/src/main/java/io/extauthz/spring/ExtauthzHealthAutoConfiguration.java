package io.extauthz.spring;

import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.health.autoconfigure.contributor.ConditionalOnEnabledHealthIndicator;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.context.annotation.Bean;

/** Shows the registration in the health of the application, where Actuator is there. */
@AutoConfiguration(after = ExtauthzAutoConfiguration.class)
@ConditionalOnClass({HealthIndicator.class, ConditionalOnEnabledHealthIndicator.class})
@ConditionalOnBean(Registration.class)
@ConditionalOnEnabledHealthIndicator("extauthz")
public class ExtauthzHealthAutoConfiguration {

    /** Does nothing: the bean is below. */
    public ExtauthzHealthAutoConfiguration() { }

    @Bean
    @ConditionalOnMissingBean(name = "extauthzHealthIndicator")
    HealthIndicator extauthzHealthIndicator(Registration registration) {
        return new ExtauthzHealthIndicator(registration);
    }
}
