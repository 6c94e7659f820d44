"""What a study's artefacts say together: tables, contrasts and their tests, what groups and students are like."""
